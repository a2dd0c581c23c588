<#
.SYNOPSIS
    Storage snapshots: diskshadow and the shadow copies of this host.
.DESCRIPTION
    Source: hyperv.md section 2.3.
#>
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'Gcb.Protocol.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'Gcb.HyperV.psm1'))

# Runs one diskshadow script. Its output goes to a file, so that ids survive a crash of this shell.
# Source: hyperv.md 2.3 ("Run diskshadow /s script.dsh"; local Administrators only).
function Invoke-GcbDiskShadow {
    [CmdletBinding()]
    [OutputType([string])]
    param(
        [Parameter(Mandatory = $true)] [string] $ScriptText,
        [Parameter(Mandatory = $true)] [string] $BasePath,
        [Parameter(Mandatory = $true)] [string] $Subject,
        [Parameter(Mandatory = $true)] [int] $TimeoutMs
    )
    $executable = [System.IO.Path]::Combine([System.Environment]::SystemDirectory, 'diskshadow.exe')
    if (-not [System.IO.File]::Exists($executable)) {
        Stop-GcbVerb -Code 'HV_DISKSHADOW_MISSING' -Subject $Subject -Message 'diskshadow.exe is not on this host.' -Remedy 'Use Windows Server, or set storageSnapshot to win32-shadow-copy where all disks lie on one volume.'
    }
    $scriptPath = $BasePath + '.dsh'
    $outputPath = $BasePath + '.out'
    [System.IO.File]::WriteAllText($scriptPath, $ScriptText, [System.Text.Encoding]::ASCII)
    $process = Start-Process -FilePath $executable -ArgumentList @('/s', ('"' + $scriptPath + '"')) -RedirectStandardOutput $outputPath -WindowStyle Hidden -PassThru
    # The exit code is only kept when the handle was read before the process ended.
    [void]$process.Handle
    if (-not $process.WaitForExit($TimeoutMs)) {
        $process.Kill()
        Stop-GcbVerb -Code 'HV_DISKSHADOW_TIMED_OUT' -Subject $Subject -Message "diskshadow did not end within $TimeoutMs ms." -Remedy 'Look at the VSS provider and its events; only one shadow copy set can be in creation at a time.'
    }
    $output = [System.IO.File]::ReadAllText($outputPath)
    if ($process.ExitCode -ne 0) {
        Stop-GcbVerb -Code 'HV_DISKSHADOW_FAILED' -Subject $Subject -Message "diskshadow ended with exit code $($process.ExitCode)." -JobErrorCode $process.ExitCode -JobErrorText $output -Remedy 'Read the output of diskshadow and the VSS events of the host.'
    }
    return $output
}

# The shadow copies of this host. Source: hyperv.md 2.3 (Win32_ShadowCopy).
function Get-GcbLiveShadow {
    [CmdletBinding()]
    param()
    foreach ($shadow in @(Get-CimInstance -Namespace 'root/cimv2' -ClassName Win32_ShadowCopy)) {
        [ordered]@{
            id           = ConvertTo-GcbGuid -Text ([string]$shadow.ID)
            setId        = ConvertTo-GcbGuid -Text ([string]$shadow.SetID)
            deviceObject = [string]$shadow.DeviceObject
            volumeName   = [string]$shadow.VolumeName
            exposedName  = [string]$shadow.ExposedName
            persistent   = [bool]$shadow.Persistent
        }
    }
}

Export-ModuleMember -Function @(
    'Invoke-GcbDiskShadow',
    'Get-GcbLiveShadow'
)

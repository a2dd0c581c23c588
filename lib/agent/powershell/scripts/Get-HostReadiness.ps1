<#
.SYNOPSIS
    What the host must offer before a collection can be checkpointed: config store, space, folder rights.
.DESCRIPTION
    Input: { settings, vmIds }. Output: { configStoreRootPath, volumes: [...], missingFolderRights: [...] }.
    Source: hyperv.md 2.2 (ConfigStoreRootPath), 6 (19100: rights on the folder of every disk), 3 step 1.
    The SID of a VM is S-1-5-83-1 and the four 32-bit words of its GUID; S-1-5-83-0 is the group of all VMs.
    INFERRED: that these rights are what event 19100 asks for (icacls (OI)F); Win32_Volume lists CSVs by their folder.
#>
#requires -Version 5.1
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [ValidatePattern('^[A-Za-z0-9+/]+=*$')] [string] $Payload,
    [Parameter(Mandatory = $true)] [ValidatePattern('^[0-9a-f]+$')] [string] $Call
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Protocol.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Wmi.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.State.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.HyperV.psm1'))

Invoke-GcbVerb -Payload $Payload -Call $Call -Body {
    param([pscustomobject] $Request)
    $namespace = $Request.settings.namespace
    $configStore = ''
    if ($null -ne (Get-Command -Name Get-ClusterResource -ErrorAction SilentlyContinue)) {
        $resource = Get-ClusterResource -Name 'Virtual Machine Cluster WMI' -ErrorAction SilentlyContinue
        if ($null -ne $resource) {
            $parameter = $resource | Get-ClusterParameter -Name ConfigStoreRootPath -ErrorAction SilentlyContinue
            $configStore = [string](Get-GcbProperty -InputObject $parameter -Name 'Value')
        }
    }
    $volumes = @(Get-CimInstance -Namespace 'root/cimv2' -ClassName Win32_Volume | Where-Object -FilterScript { [string]$_.Name -ne '' })
    $seen = @{}
    $missing = New-Object -TypeName System.Collections.ArrayList
    foreach ($vmId in @($Request.vmIds)) {
        $system = Get-GcbVirtualSystem -Namespace $namespace -VmId $vmId
        if ($null -eq $system) { continue }
        $bytes = ([guid]$vmId).ToByteArray()
        $words = @(0, 4, 8, 12 | ForEach-Object -Process { [System.BitConverter]::ToUInt32($bytes, $_) })
        $sids = @('S-1-5-83-0', ('S-1-5-83-1-' + ($words -join '-')))
        $folders = @(Get-GcbDiskAllocation -Setting (Get-GcbRealizedSetting -VirtualSystem $system) |
                ForEach-Object -Process { [System.IO.Path]::GetDirectoryName([string]@($_.HostResource)[0]) } | Sort-Object -Unique)
        foreach ($folder in $folders) {
            $volume = Get-GcbVolume -Volumes $volumes -Path $folder
            if ($null -ne $volume) { $seen[[string]$volume.Name] = $volume }
            if (-not [bool]$Request.settings.checkFolderRights) { continue }
            $rules = (Get-Acl -LiteralPath $folder).GetAccessRules($true, $true, [System.Security.Principal.SecurityIdentifier])
            $granted = @($rules | Where-Object -FilterScript {
                    $sids -contains $_.IdentityReference.Value -and [string]$_.AccessControlType -eq 'Allow' -and
                    ($_.FileSystemRights -band [System.Security.AccessControl.FileSystemRights]::CreateFiles) -ne 0
                })
            if ($granted.Count -eq 0) { [void]$missing.Add([ordered]@{ vmId = $vmId; directory = $folder }) }
        }
    }
    [ordered]@{
        configStoreRootPath = $configStore
        volumes             = @($seen.Values | ForEach-Object -Process {
                [ordered]@{ directory = [string]$_.Name; freeBytes = [long]$_.FreeSpace; usedBytes = [long]$_.Capacity - [long]$_.FreeSpace }
            })
        missingFolderRights = $missing.ToArray()
    }
}

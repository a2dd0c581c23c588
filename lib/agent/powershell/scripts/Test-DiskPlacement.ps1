<#
.SYNOPSIS
    Whether restored disks can be placed in a folder: it exists or can be made, has room, may hold a shared disk.
.DESCRIPTION
    Input: { settings, directory, neededBytes, shared }. Output: { fits, freeBytes, supportsSharing }.
    Source: hyperv.md 1.6 (ValidatePersistentReservationSupport); cimwin32prov Win32_Volume.
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
    [void][System.IO.Directory]::CreateDirectory($Request.directory)
    $volumes = @(Get-CimInstance -Namespace 'root/cimv2' -ClassName Win32_Volume | Where-Object -FilterScript { [string]$_.Name -ne '' })
    $volume = Get-GcbVolume -Volumes $volumes -Path $Request.directory
    $free = [long]0
    if ($null -ne $volume) { $free = [long]$volume.FreeSpace }
    $supports = $true
    if ([bool]$Request.shared) {
        $images = Get-GcbService -Namespace $Request.settings.namespace -ClassName Msvm_ImageManagementService
        try { [void](Invoke-GcbMethod -Target $images -MethodName ValidatePersistentReservationSupport -Arguments @{ Path = [string]$Request.directory } -Subject $Request.directory -TimeoutMs ([long]$Request.settings.callTimeoutMs)) }
        catch {
            if (-not (Test-GcbErrorCode -ErrorRecord $_ -Code 'HV_CALL_FAILED') -and -not (Test-GcbErrorCode -ErrorRecord $_ -Code 'HV_JOB_FAILED')) { throw }
            $supports = $false
        }
    }
    [ordered]@{ fits = ($free -ge [long]$Request.neededBytes); freeBytes = $free; supportsSharing = $supports }
}

<#
.SYNOPSIS
    Makes a VHD Set of a restored .vhdx: a .vhds of the same name beside it.
.DESCRIPTION
    Input: { settings, path }. Output: { path }.
    Source: hyperv.md 1.6 (ConvertVirtualHardDiskToVHDSet), 3.2 (the VMs that use it are off).
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
    $images = Get-GcbService -Namespace $Request.settings.namespace -ClassName Msvm_ImageManagementService
    $setPath = [System.IO.Path]::ChangeExtension([string]$Request.path, '.vhds')
    if (-not [System.IO.File]::Exists($setPath)) {
        [void](Invoke-GcbMethod -Target $images -MethodName ConvertVirtualHardDiskToVHDSet -Arguments @{ VirtualHardDiskPath = [string]$Request.path } -Subject $Request.path -TimeoutMs ([long]$Request.settings.callTimeoutMs))
    }
    if (-not [System.IO.File]::Exists($setPath)) {
        Stop-GcbVerb -Code 'HV_NOT_FOUND' -Subject $setPath -Message "The VHD Set $setPath was reported as made but is not there." -Remedy 'Check the folder and convert by hand: Convert-VHD with a .vhds destination.'
    }
    [ordered]@{ path = $setPath }
}
